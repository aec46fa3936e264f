"""Output in the terminal: single lines, tables, live progress. It receives plain values or reads the record."""
