"""Durable execution for PostgreSQL: workflows in SQL, carried to their end by Python workers."""
