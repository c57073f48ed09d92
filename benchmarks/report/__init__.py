"""Results for people: tables, pages and plots."""
