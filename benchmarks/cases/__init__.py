"""One module per topic; each registers its cases when it is imported."""
