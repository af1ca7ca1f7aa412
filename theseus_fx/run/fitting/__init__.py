"""What a closed-form start sees of guide and hybrid, and how it is put into a replacement."""
