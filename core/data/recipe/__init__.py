"""Making a dataset by a recipe. Begin with `prepare`: it plans (`plan`, `mixing`), takes the steps over stored rows one
after the other (`walk`, `passes`, `rows`), and writes; `preview` does the same with a part and writes nothing."""
