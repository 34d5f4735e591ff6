"""Parking by camera, many times: a lesson, the drives, and the report of where cars stood."""
