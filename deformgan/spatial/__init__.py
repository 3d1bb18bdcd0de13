"""Where points go: grids, warps, fields, affine matrices and the Transform made of them."""
