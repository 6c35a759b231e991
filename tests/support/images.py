"""Small real images for everybody's tests. See neargate.oci.layout, where they are made."""

from neargate.oci.layout import busybox_image, busybox_layer, write_layout

__all__ = ["busybox_image", "busybox_layer", "write_layout"]
