"""Many pairs: a restartable batch on a distributed engine."""
