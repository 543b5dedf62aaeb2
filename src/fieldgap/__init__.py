"""Do weight initialisation and learning-rate schedule change how well a segmentation model generalises?"""
