"""Finished runs into tables, a picture and a page."""
