"""Shows trees in a browser: one script and one style sheet, used by the report's page and by `berry view`."""
