"""Results to look at, a web page and figures, and first drafts of labels."""
