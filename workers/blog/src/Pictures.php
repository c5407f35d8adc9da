<?php

declare(strict_types=1);

namespace Blog;

/** Uploaded pictures. They lie outside of public/, so that nothing a visitor sends is ever run or guessed at. */
final class Pictures
{
    private const BYTES_MAX = 4 << 20;
    private const SIDE_PIXELS_MAX = 6000;
    private const TYPES = ['jpg' => IMAGETYPE_JPEG, 'png' => IMAGETYPE_PNG, 'gif' => IMAGETYPE_GIF, 'webp' => IMAGETYPE_WEBP];

    public function __construct(private readonly string $directory)
    {
    }

    /**
     * Check an upload. What the client says of its name and type counts for nothing.
     *
     * @return string the extension that the content calls for; empty if no file was sent
     */
    public function check(string $field): string
    {
        $upload = $_FILES[$field] ?? ['error' => UPLOAD_ERR_NO_FILE];
        if ($upload['error'] === UPLOAD_ERR_NO_FILE) {
            return '';
        }
        if ($upload['error'] === UPLOAD_ERR_INI_SIZE || ($upload['size'] ?? 0) > self::BYTES_MAX) {
            throw new HttpError(413, 'The picture is too large: at most 4 MB.');
        }
        if ($upload['error'] !== UPLOAD_ERR_OK) { // also when the field was sent several times
            throw new HttpError(400, 'The picture did not arrive whole.');
        }
        $facts = @getimagesize($upload['tmp_name']); // it warns of what it cannot read, which is what we ask
        $extension = $facts === false ? false : array_search($facts[2], self::TYPES, true);
        if ($extension === false) {
            throw new HttpError(415, 'That is no JPEG, PNG, GIF or WebP picture.');
        }
        if (max($facts[0], $facts[1]) > self::SIDE_PIXELS_MAX) {
            throw new HttpError(413, 'The picture is too large: at most 6000 pixels a side.');
        }

        return $extension;
    }

    /** Keep an upload that check() has passed. */
    public function keep(string $field, string $id, string $extension): string
    {
        if (!is_dir($this->directory) && !@mkdir($this->directory, 0700, true) && !is_dir($this->directory)) {
            throw new \RuntimeException("cannot make {$this->directory}");
        }
        if (!move_uploaded_file($_FILES[$field]['tmp_name'], "{$this->directory}/$id.$extension")) {
            throw new \RuntimeException("cannot write to {$this->directory}");
        }

        return "$id.$extension";
    }

    public function send(string $id, string $extension): void
    {
        $file = "{$this->directory}/$id.$extension";
        if (!is_file($file)) {
            throw new HttpError(404, 'There is no such picture.');
        }
        header('Content-Type: ' . image_type_to_mime_type(self::TYPES[$extension]));
        header('Content-Length: ' . filesize($file));
        header('X-Content-Type-Options: nosniff');
        header("Content-Security-Policy: default-src 'none'; sandbox");
        header('Cache-Control: public, max-age=31536000, immutable'); // another picture gets another name
        readfile($file);
    }
}
