"""From folders, tables and arrays to decoded images: layouts, splits, manifest, store."""
