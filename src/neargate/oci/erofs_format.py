"""What of EROFS's on-disk format its writer (erofs.py) and its reader (erofs_reader.py) both go by. Constants
only. Source: linux/fs/erofs/erofs_fs.h.
"""

import struct

BLOCK = 4096
MAGIC = 0xE0F5E1E2
PLAIN, INLINE = 0, 2
"""Layouts of data."""
DIRENT = struct.Struct("<QHBx")
"""Number of the inode, offset of the name, type."""
