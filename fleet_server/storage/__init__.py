"""Where the server keeps what it is told: SQL tables and their migrations."""
