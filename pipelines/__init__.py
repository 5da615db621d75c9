"""The binaries: each parses flags, calls the library, and prints one result."""
