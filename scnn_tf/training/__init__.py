"""The trainer of the three stages: one device, several, or several hosts."""
