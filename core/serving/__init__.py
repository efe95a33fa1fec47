"""Chat: a local OpenAI-compatible server (`process`), and its torch-free side (`session` starts, `client` asks)."""
