"""The page. It owns no run state: what it shows is read from files, what it starts outlives it."""
