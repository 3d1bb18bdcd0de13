"""One transform applied to everything: images, labels, series, vectors, tensors, points and meshes.

The rule: what belongs to the moving image is brought into the fixed image's space; `inverse` is the other way.
"""
