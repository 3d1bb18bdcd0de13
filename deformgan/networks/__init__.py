"""Shapes in, shapes out: the networks, without losses."""
