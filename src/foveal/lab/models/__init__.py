"""Networks, one paper or idea a file."""
