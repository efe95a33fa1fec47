"""What is measured of finished models: how well they predict text, which of two answers they prefer, what they say."""
