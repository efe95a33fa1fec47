"""From a canonical row to ids and labels; `encoding` is the one place where that happens."""
