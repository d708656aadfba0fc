"""What a sweep keeps: the records of its runs, its folder, how far it is."""
