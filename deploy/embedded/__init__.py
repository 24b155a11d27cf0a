"""PostgreSQL and Temporal on one machine, without Docker."""
