<?php
/**
 * Plugin Name: Mail
 * Description: Hands the site's mails to the mail service, where there is one.
 */

if (SITE_BONUS) {
    add_action('phpmailer_init', static function (PHPMailer\PHPMailer\PHPMailer $mailer): void {
        $mailer->isSMTP();
        $mailer->Host = 'mail';
        $mailer->Port = 2525;
        $mailer->SMTPAuth = false;
        $mailer->SMTPAutoTLS = false;
    });
}
