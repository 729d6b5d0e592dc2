"""What leaves for other people's tables: rows by transaction, in files that are whole or not there."""
