<?php
/**
 * WordPress's files in the site's volume.
 */
declare(strict_types=1);

namespace Site;

/** Names the release whose files are complete in the volume; written last. */
const MARKER = '.installed-release';

/** Stands in the volume while a newer release replaces an older one: what is there is neither of both. */
const UPDATING = '.updating-release';

/** Copies the release in `$source` to `$site`, unless the same or a newer one is complete there. */
function deploy_files(string $source, string $site): void
{
    $release = release($source);
    $marker = "$site/" . MARKER;
    $present = is_file($marker) ? trim((string) file_get_contents($marker)) : null;
    $updating = "$site/" . UPDATING;
    if ($present !== null && !is_file($updating)) {
        // The site may have been updated from its dashboard since.
        $newest = version_compare(release($site), $present, '>') ? release($site) : $present;
        if (version_compare($newest, $release, '>=')) {
            return;
        }
        file_put_contents($updating, "$release\n");
    }
    say("copying WordPress $release into the volume");
    // A site that was complete keeps its own themes, plugins and uploads.
    copy_tree($source, $site, $present === null ? null : 'wp-content');
    shell_exec('sync -f ' . escapeshellarg($site));
    file_put_contents("$marker.new", "$release\n");
    rename("$marker.new", $marker);
    is_file($updating) && unlink($updating);
}

/** The version that a WordPress tree says it is; "0" if it does not say. */
function release(string $source): string
{
    $text = (string) @file_get_contents("$source/wp-includes/version.php");
    return preg_match('/^\$wp_version = \'(.+)\';/m', $text, $found) ? $found[1] : '0';
}

/** Copies all files below `$source`, replacing those of the same name, but keeps those below `$keep`. */
function copy_tree(string $source, string $target, ?string $keep): void
{
    $files = new \RecursiveIteratorIterator(
        new \RecursiveDirectoryIterator($source, \FilesystemIterator::SKIP_DOTS),
        \RecursiveIteratorIterator::SELF_FIRST,
    );
    foreach ($files as $file) {
        $path = $files->getSubPathname();
        if ($file->isDir()) {
            is_dir("$target/$path") || mkdir("$target/$path", 0755, true);
        } elseif ($keep === null || !str_starts_with($path, "$keep/") || !file_exists("$target/$path")) {
            copy($file->getPathname(), "$target/$path") || throw new \RuntimeException("copying $path failed");
        }
    }
}
