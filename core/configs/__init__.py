"""Stage configs: typed sections, the table of stages, and the files and overrides they are read from."""
