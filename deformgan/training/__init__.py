"""Fit T, G and D over many pairs: Deform-GAN's D -> G -> T."""
