"""A report's content as Markdown, HTML, CSV and LaTeX."""
