"""How good a registration is, for one case or a cohort: overlap, landmarks, regularity, intensities, statistics."""
