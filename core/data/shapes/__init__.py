"""The row shapes of the field, and how each becomes a canonical row; `formats` is the table."""
