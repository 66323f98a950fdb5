"""Sets of the field, as they are published, into COCO JSON: one module a set, and what they share."""
