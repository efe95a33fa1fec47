"""Opening a file and reading its rows, whatever holds them: JSONL, JSON, CSV, Parquet, text."""
