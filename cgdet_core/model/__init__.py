"""The network: backbone, neck, head, and the detector they make."""
