"""One module a tab: only what differs from the others. Pages never import pages."""
