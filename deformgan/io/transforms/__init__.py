"""One file a tool whose transforms are read and written; `deformgan.io.transform_files` is the door."""
