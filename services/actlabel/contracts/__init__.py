"""What services say to each other; generated from proto/, never edited by hand."""
