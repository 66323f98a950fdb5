"""Where frames and labels come from: COCO sets, bags, rendered streets."""
