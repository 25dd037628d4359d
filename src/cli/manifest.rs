//! `provision status --manifest`: what a machine was made from.

use crate::facts::{Image, Provenance, Step};
use crate::report::{self, Output, Paint};

impl Output for Provenance {
    fn text(&self, paint: Paint) -> String {
        let iso = self.iso.as_ref();
        let unknown = || "unknown".to_owned();
        let mut parts = vec![
            format!("made        {}, by provision {}", self.made, self.tool),
            format!("login       {}, guest {}", self.login, self.guest),
            format!("iso         {}", iso.map_or_else(unknown, |iso| iso.name.clone())),
        ];
        if let Some(iso) = iso {
            parts.push(format!("            {}", iso.digest));
            parts.push(format!("            {}", iso.trust()));
        }
        for made in &self.stages {
            parts.push(String::new());
            parts.extend(stage(made, paint));
        }
        let packages = self.packages.iter().map(|package| {
            let (name, version) = (package.name.clone(), package.version.clone());
            [name, version, package.stage.to_string(), package.source.to_string()]
        });
        let packages: Vec<[String; 4]> = packages.collect();
        parts.push(String::new());
        parts.push(report::table(["PACKAGE", "VERSION", "STAGE", "FROM"], &packages, paint));
        let images: Vec<[String; 2]> = self.images.iter().map(image).collect();
        parts.push(String::new());
        parts.push(report::table(["IMAGE", "DIGEST"], &images, paint));
        parts.join("\n")
    }
}

fn stage(made: &Step, paint: Paint) -> Vec<String> {
    let mut lines = vec![
        format!("{} {}", paint.bold(made.stage), made.key),
        format!("  {} in {:.0} s, by provision {}", made.made, made.seconds, made.tool),
    ];
    lines.extend(made.inputs.iter().map(|(name, value)| format!("  {name}: {value}")));
    lines
}

fn image(image: &Image) -> [String; 2] {
    let digest = match (&image.digest, &image.id) {
        (Some(digest), _) => digest.clone(),
        (None, Some(id)) => format!("built here: {id}"),
        (None, None) => "-".to_owned(),
    };
    [image.name.clone(), digest]
}
