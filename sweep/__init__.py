"""Which pre-trained backbone, and how much of it frozen, for our medical images?"""

__version__ = "0.1.0"
