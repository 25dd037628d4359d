<?php
/**
 * What the site does differently while the bonus services run.
 */
declare(strict_types=1);

namespace Site;

const OBJECT_CACHE = __DIR__ . '/object-cache.php';

/** Puts the object cache's drop-in into the site, or takes it out. Another plugin's is left alone. */
function set_object_cache(string $site, bool $wanted): void
{
    $drop_in = "$site/wp-content/object-cache.php";
    $ours = is_link($drop_in) && readlink($drop_in) === OBJECT_CACHE;
    if ($wanted && !$ours && !file_exists($drop_in)) {
        symlink(OBJECT_CACHE, $drop_in);
    } elseif (!$wanted && $ours) {
        unlink($drop_in);
    }
}
