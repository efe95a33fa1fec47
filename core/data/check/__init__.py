"""The doctor. Begin with `doctor`: it shares a file out (`parallel`, `helper`), `examine` looks at a batch of rows."""
