"""The 2 x 2 study of MR -> CT synthesis, few or many people with and without gradient consistency, as one run."""
