"""`python -m e2e.images`: build every image and print its name."""

from e2e.images.images import all_images

if __name__ == "__main__":
    for image in all_images():
        print(image.name, image.archive)
