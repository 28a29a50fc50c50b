"""What the notebooks need beside the eleven modules: live pictures, widgets and (one folder per lesson) its own."""
