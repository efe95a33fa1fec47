"""From files to rows to token ids: reading, checking, the dataset library and the one encoder. Imports no torch."""
