"""Mean average precision under a named protocol, error types and diagnosis."""
